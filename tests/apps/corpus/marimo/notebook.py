import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md("# HELLO ONE")
    return (mo,)


if __name__ == "__main__":
    app.run()
