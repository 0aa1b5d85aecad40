import "./style.css";

document.getElementById("app").innerHTML = "<h1>HELLO ONE</h1>";
