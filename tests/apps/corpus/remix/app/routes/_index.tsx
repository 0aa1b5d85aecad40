export function loader() { return { text: 'from the loader' } }

export default function Home() { return <h1>HELLO ONE</h1> }
