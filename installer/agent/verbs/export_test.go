package verbs

// What tests from outside compare with.
const (
	MarkText     = markText
	MarkBefore   = markBefore
	RegistryTree = registryTree
	MaxListeners = maxListeners
)
