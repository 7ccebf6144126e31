package stepstest

// memo is what a site knows of its machines while nothing happens: what runs on them follows from many files, and one question to
// the API asks for it a hundred times.
type memo map[fact]bool

type fact struct {
	kind string
	m    *Machine
}

// remembering lets a site remember what runs, until the function that it returns is called. Nothing may happen meanwhile by which
// that changes. The site is locked.
func (s *Site) remembering() (end func()) {
	if s.memo != nil {
		return func() {}
	}
	s.memo = memo{}
	return func() { s.memo = nil }
}

// recall gives what a site remembers of a machine, or finds it out.
func recall(s *Site, kind string, m *Machine, find func() bool) bool {
	if s.memo == nil {
		return find()
	}
	if is, known := s.memo[fact{kind, m}]; known {
		return is
	}
	is := find()
	if s.memo != nil {
		s.memo[fact{kind, m}] = is
	}
	return is
}
