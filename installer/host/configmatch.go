package host

import (
	"cmp"
	"fmt"
	"os/user"
	"slices"
	"strings"
)

// selection is what a configuration says about one host: the lines of the blocks that match, in order.
type selection struct {
	name, user string // the host as it was given, and the user who logs in, if that is settled
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

// hostLineMatches tells whether a Host line is about a host: one of its patterns matches, and none of those with ! does.
func hostLineMatches(patterns []string, name string) bool {
	return patternsMatch(patterns, strings.ToLower(name), strings.ToLower)
}

// listMatches tells the same for a list of patterns with commas.
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

// match tells whether all criteria of a Match line hold. A line with a criterion that cannot be judged here is skipped, with a
// warning.
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
			return false, nil // whatever the other criteria are
		}
	}
	if unknown != "" {
		s.skipped(l, unknown)
	}
	return unknown == "", nil
}

// criterion tells whether one criterion with a value holds, and whether it can be judged here.
func (s *selection) criterion(word, value string) (holds, known bool, err error) {
	same := func(text string) string { return text }
	switch word {
	case "host", "user":
		settings, err := s.settings()
		if err != nil {
			return false, false, err
		}
		if word == "host" {
			return listMatches(value, cmp.Or(settings.HostName, s.name), strings.ToLower), true, nil
		}
		return listMatches(value, s.login(settings.User), same), true, nil
	case "originalhost":
		return listMatches(value, s.name, strings.ToLower), true, nil
	case "localuser":
		me, err := user.Current()
		if err != nil {
			return false, false, nil // it cannot be judged: the caller warns
		}
		return listMatches(value, me.Username, same), true, nil
	}
	return false, false, nil
}

// login is the user who logs in; said is the user that the configuration names, as far as it is read.
func (s *selection) login(said string) string { return cmp.Or(s.user, said, defaultUser) }
