SECRET_KEY = "not secret"
DEBUG = True
ALLOWED_HOSTS = []
ROOT_URLCONF = "site_.urls"
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_URL = "static/"
