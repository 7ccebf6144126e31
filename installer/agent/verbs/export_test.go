package verbs

// What tests from outside compare with.
const (
	MarkText     = markText
	MarkBefore   = markBefore
	RegistryTree = registryTree
	MaxListeners = maxListeners
)

// Description marks a unit with what it runs.
var Description = description
