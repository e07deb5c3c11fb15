// DialogueService
