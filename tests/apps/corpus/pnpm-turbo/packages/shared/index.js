export const text = 'HELLO ONE'
