import gradio as gr

with gr.Blocks() as demo:
    gr.Markdown("# HELLO ONE")
    name = gr.Textbox(label="name")
    out = gr.Textbox(label="out")
    gr.Button("greet").click(lambda text: f"hi {text}", name, out)

demo.launch()
