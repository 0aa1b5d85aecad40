export const pots = [
  { name: 'Moss bowl', price: 24, tone: '#7d8f69' },
  { name: 'Terracotta tall', price: 38, tone: '#c0694a' },
  { name: 'Slate cup', price: 16, tone: '#66707d' },
  { name: 'Sand planter', price: 42, tone: '#d3b88c' },
]
