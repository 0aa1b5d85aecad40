export default function Home() { return <h1>HELLO ONE</h1> }
