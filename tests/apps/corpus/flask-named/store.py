items = ["milk"]
