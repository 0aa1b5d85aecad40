print("Hello from the script")
