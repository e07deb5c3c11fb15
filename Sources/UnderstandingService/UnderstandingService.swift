// UnderstandingService
