package host

import (
	"fmt"
	"os/user"
	"slices"
	"strings"
)

// selection is what of a configuration is said about one host: the lines of blocks that match, in order.
type selection struct {
	name, user string // the host as it was given, and who logs in, if that is settled
	lines      []configLine
	skipped    func(l configLine, why string)
}

// walk takes the lines of one file. outer tells whether the block it is included from matches.
func (s *selection) walk(lines []configLine, outer bool) error {
	active := outer
	for _, l := range lines {
		switch {
		case l.keyword == "host":
			active = outer && hostLineMatches(l.args, s.name)
		case l.keyword == "match":
			active = false
			if outer {
				var err error
				if active, err = s.match(l); err != nil {
					return err
				}
			}
		case l.keyword == "include":
			for _, file := range l.files {
				if err := s.walk(file, active); err != nil {
					return err
				}
			}
		case active && slices.Contains(readKeywords[:], l.keyword):
			s.lines = append(s.lines, l)
		}
	}
	return nil
}

// hostLineMatches tells whether a Host line is about a host: one of its patterns is, and none of those with ! is.
func hostLineMatches(patterns []string, name string) bool {
	return patternsMatch(patterns, strings.ToLower(name), strings.ToLower)
}

// listMatches is the same for patterns with commas between them.
func listMatches(list, text string, fold func(string) string) bool {
	return patternsMatch(strings.Split(list, ","), fold(text), fold)
}

func patternsMatch(patterns []string, text string, fold func(string) string) bool {
	found := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if matchPattern(text, fold(p)) {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

// match tells whether a Match line applies: all that it asks for is so. Where that cannot be known here, it never does.
func (s *selection) match(l configLine) (bool, error) {
	unknown := ""
	if len(l.args) == 0 {
		unknown = "asks for nothing"
	}
	for args := l.args; len(args) > 0; {
		word := args[0]
		args = args[1:]
		word, negated := strings.CutPrefix(word, "!")
		word, value, valued := strings.Cut(word, "=")
		word = strings.ToLower(word)
		switch word {
		case "all":
			if len(l.args) != 1 || negated || valued {
				unknown = "has all beside other criteria"
			}
			continue
		case "canonical", "final":
			unknown = "asks for " + word + ", which is not looked at here"
			continue
		}
		if !valued {
			if len(args) == 0 {
				unknown = fmt.Sprintf("%q has no value, or is not known", word)
				break
			}
			value, args = args[0], args[1:]
		}
		got, known, err := s.criterion(word, value)
		switch {
		case err != nil:
			return false, err
		case !known:
			unknown = "asks for " + word + ", which is not looked at here"
		case got == negated:
			return false, nil // whatever the rest would be
		}
	}
	if unknown != "" {
		s.skipped(l, unknown)
	}
	return unknown == "", nil
}

// criterion tells whether one criterion with a value holds, and whether that can be known.
func (s *selection) criterion(word, value string) (holds, known bool, err error) {
	same := func(text string) string { return text }
	switch word {
	case "host", "user":
		settings, err := s.settings()
		if err != nil {
			return false, false, err
		}
		if word == "host" {
			name := s.name
			if settings.HostName != "" {
				name = settings.HostName
			}
			return listMatches(value, name, strings.ToLower), true, nil
		}
		return listMatches(value, s.login(settings.User), same), true, nil
	case "originalhost":
		return listMatches(value, s.name, strings.ToLower), true, nil
	case "localuser":
		me, err := user.Current()
		if err != nil {
			return false, false, nil // known by no name, which a warning tells
		}
		return listMatches(value, me.Username, same), true, nil
	}
	return false, false, nil
}

// login is who logs in when said is what the configuration has said so far.
func (s *selection) login(said string) string {
	switch {
	case s.user != "":
		return s.user
	case said != "":
		return said
	}
	return defaultUser
}
