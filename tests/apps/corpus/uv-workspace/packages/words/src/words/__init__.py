from markupsafe import escape

TEXT = escape("Written in the package")
