package scan

import (
	"bytes"
	"strings"
)

// lists reads images/shim/*: one reference a line.
func (s *scanner) lists(src sources) error {
	for _, dir := range src.lists {
		err := s.walk(dir, func(file string) error {
			text, ok := s.read(file)
			if ok {
				s.list(file, text)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// list takes one list. A line that is no reference is an error: the list
// says that an image is needed and which one cannot be told.
func (s *scanner) list(file string, text []byte) {
	for n, line := range bytes.Split(text, []byte{'\n'}) {
		entry := listEntry(string(line), n == 0)
		if entry == "" {
			continue
		}
		if resolved := neutralize(entry, s.env); resolved != entry {
			entry = strings.TrimSpace(resolved)
		}
		if name, ok := strings.CutSuffix(entry, ":"); ok {
			s.warn(file, n+1, "the tag of "+name+" is empty: latest is taken if there is one")
			s.add(file, finding{text: name, line: n + 1, certainty: Suspected, reason: "image list, without a tag"})
			continue
		}
		if _, err := Normalize(entry); err != nil {
			s.fail(file, n+1, err.Error())
			continue
		}
		s.add(file, finding{text: entry, line: n + 1, certainty: Certain, reason: "image list"})
	}
}

// listEntry strips a line of a list: padding, a comment, a byte order mark.
func listEntry(line string, first bool) string {
	if first {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	for _, mark := range []string{" #", "\t#"} {
		line, _, _ = strings.Cut(line, mark)
	}
	return trimRef(line)
}
