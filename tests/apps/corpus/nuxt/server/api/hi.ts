export default defineEventHandler(() => 'api works')
