import { Text, View } from 'react-native'

export default function App() {
  return <View><Text>HELLO ONE</Text></View>
}
