from nicegui import ui

ui.label("HELLO ONE")
ui.button("Press", on_click=lambda: ui.notify("pressed"))

ui.run(title="Nice")
