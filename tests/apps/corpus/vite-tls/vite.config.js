import ssl from '@vitejs/plugin-basic-ssl'
export default { plugins: [ssl()] }
