from shiny.express import ui

ui.page_opts(title="Shiny")
ui.h1("HELLO ONE")
ui.input_slider("n", "N", 0, 100, 20)
