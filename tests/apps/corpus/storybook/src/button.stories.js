export default { title: 'Button' }
export const Primary = { render: () => `<button>HELLO ONE</button>` }
