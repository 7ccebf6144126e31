package apis

import (
	"regexp"
	"slices"
	"strings"
)

// Use is an object in a text, with the versions that it may have: a template chooses one of several.
type Use struct {
	Versions []string
	Kind     string
	Line     int  // of the first version, from 1 on
	Perhaps  bool // it stands where a template leaves something out
}

var (
	// field is a line of an object that says its version or kind. In JSON it may have more on it.
	field = regexp.MustCompile(`^(\s*(?:- )?\s*)["']?(apiVersion|kind)["']?\s*:\s*["']?([A-Za-z0-9./-]+)["']?\s*,?\s*(?:#.*)?$`)
	// action is a template's action that opens or closes something.
	action = regexp.MustCompile(`\{\{-?\s*(if|with|range|define|block|else|end)\b`)
)

// Scan finds objects in a text of YAML, JSON in lines, or a template of such. It goes by lines, since templates are neither: a
// version and a kind belong together if they are indented alike and no line between them is indented less.
func Scan(text string) []Use {
	var out []Use
	var open []Use   // that are being read, by indentation
	var at []int     // indentation of each
	var ifs []string // actions of a template that are open
	end := func(from int) {
		for _, u := range open[from:] {
			if u.Kind != "" && len(u.Versions) > 0 {
				out = append(out, u)
			}
		}
		open, at = open[:from], at[:from]
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		for _, m := range action.FindAllStringSubmatch(line, -1) {
			switch {
			case m[1] == "end" && len(ifs) > 0:
				ifs = ifs[:len(ifs)-1]
			case m[1] != "end" && m[1] != "else":
				ifs = append(ifs, m[1])
			}
		}
		bare := strings.TrimSpace(line)
		if bare == "" || strings.HasPrefix(bare, "#") || strings.HasPrefix(bare, "{{") {
			continue
		}
		if strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...") {
			end(0)
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		item := strings.HasPrefix(bare, "- ") || bare == "-"
		if item { // what follows is one object of a list, as deep as its first field
			if i := slices.IndexFunc(at, func(n int) bool { return n > indent }); i >= 0 {
				end(i)
			}
			indent += len(bare) - len(strings.TrimLeft(strings.TrimPrefix(bare, "-"), " "))
		}
		if i := slices.IndexFunc(at, func(n int) bool { return n > indent }); i >= 0 {
			end(i)
		}
		m := field.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		i := len(at) - 1
		if i < 0 || at[i] != indent {
			open, at = append(open, Use{}), append(at, indent)
			i++
		}
		u := &open[i]
		if m[2] == "kind" {
			if u.Kind != "" && u.Kind != m[3] { // another object, without a line between them
				last := *u
				out, *u = append(out, last), Use{}
				if last.Kind == "" || len(last.Versions) == 0 {
					out = out[:len(out)-1]
				}
			}
			u.Kind = m[3]
		} else {
			if len(u.Versions) == 0 {
				u.Line = number
			}
			u.Versions = append(u.Versions, m[3])
		}
		u.Perhaps = u.Perhaps || slices.ContainsFunc(ifs, func(word string) bool { return word != "define" && word != "block" })
	}
	end(0)
	slices.SortStableFunc(out, func(a, b Use) int { return a.Line - b.Line })
	return out
}

// Gone gives the kind that an object uses if none of the versions that it may have is served.
func (t Table) Gone(u Use) (k Kind, gone bool) {
	for _, version := range u.Versions {
		k = Kind{version, u.Kind}
		if _, gone = t[k]; !gone {
			return Kind{}, false
		}
	}
	return k, gone
}
