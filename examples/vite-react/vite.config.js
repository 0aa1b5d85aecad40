import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [react()],
  // The sandbox tells by PORT where it looks for the app; strictPort, as another port would not be found.
  server: { host: process.env.HOST, port: Number(process.env.PORT ?? 3000), strictPort: true },
})
