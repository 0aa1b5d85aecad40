export default function App() {
  return <h1>HELLO ONE</h1>
}
