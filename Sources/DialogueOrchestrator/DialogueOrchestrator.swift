@main struct DialogueOrchestrator { static func main() {} }
