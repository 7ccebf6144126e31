package registry

// MapSource is the source of this package's tests.
type MapSource = mapSource
