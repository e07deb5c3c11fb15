@main struct IntentServer { static func main() {} }
