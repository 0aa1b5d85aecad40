import { useState } from 'react'
import { pots } from './pots.js'

const HEADLINE = 'Pots for quiet corners'

export default function App() {
  const [basket, setBasket] = useState([])
  const total = basket.reduce((sum, pot) => sum + pot.price, 0)

  return (
    <main>
      <header>
        <p className="brand">Fern &amp; Clay</p>
        <h1>{HEADLINE}</h1>
        <p className="basket" aria-live="polite">
          {basket.length === 0 ? 'Your basket is empty' : `${basket.length} in the basket, €${total}`}
        </p>
      </header>
      <ul>
        {pots.map((pot) => (
          <li key={pot.name}>
            <Pot tone={pot.tone} />
            <h2>{pot.name}</h2>
            <button onClick={() => setBasket([...basket, pot])}>Add for €{pot.price}</button>
          </li>
        ))}
      </ul>
    </main>
  )
}

function Pot({ tone }) {
  return (
    <svg viewBox="0 0 100 90" role="img" aria-label="a pot with a fern">
      <g fill="none" stroke="#4d6b4a" strokeWidth="3" strokeLinecap="round">
        <path d="M50 50C50 32 44 20 32 12M50 50C52 30 58 18 70 14M50 50V10M50 50C42 38 32 34 22 34M50 50C58 38 68 34 80 36" />
      </g>
      <path d="M26 48h48l-6 36a4 4 0 0 1-4 3H36a4 4 0 0 1-4-3z" fill={tone} />
      <rect x="22" y="44" width="56" height="9" rx="3" fill={tone} />
    </svg>
  )
}
