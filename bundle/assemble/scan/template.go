package scan

import (
	"regexp"
	"strings"
)

// unresolved stands in text for a template's value that is not known here.
// It is a private-use character: valid in YAML, never in a reference.
const unresolved = "\ue000"

// Read-only after start.
var (
	templateAction = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	loneAction     = regexp.MustCompile(`^\s*` + unresolved + `+\s*$`)
)

// neutralize makes a Go template readable without rendering it, so that every
// branch of it is seen and every line keeps its number: control actions go
// away, known values (.KEY and .Env.KEY of env, literals, defaults) are put
// in, others become the unresolved mark.
func neutralize(content string, env map[string]string) string {
	if !strings.Contains(content, "{{") {
		return content
	}
	out := templateAction.ReplaceAllStringFunc(content, func(a string) string {
		return actionValue(strings.Trim(a, "{}"), env) + strings.Repeat("\n", strings.Count(a, "\n"))
	})
	lines := strings.Split(out, "\n")
	for i, line := range lines {
		// A line that was one action only stood for a block, not for a value.
		if loneAction.MatchString(line) {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\n")
}

// actionValue is what one action prints.
func actionValue(action string, env map[string]string) string {
	action = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(action, "-"), "-"))
	word, _, _ := strings.Cut(action, " ")
	switch word {
	case "if", "else", "end", "range", "with", "define", "block", "template", "break", "continue", "":
		return ""
	}
	if strings.HasPrefix(action, "/*") || strings.HasPrefix(action, "$") && strings.Contains(action, "=") {
		return ""
	}
	value, ok := "", false
	for part := range strings.SplitSeq(action, "|") {
		part = strings.TrimSpace(part)
		switch {
		case part == "quote" || part == "squote" || part == "trim" || part == "toString":
		case strings.HasPrefix(part, "default "):
			fields := strings.Fields(strings.TrimPrefix(part, "default "))
			if len(fields) == 2 { // default LITERAL .KEY
				value, ok = operand(fields[1], env)
			}
			if (!ok || value == "") && len(fields) > 0 {
				value, ok = operand(fields[0], env)
			}
		default:
			value, ok = operand(part, env)
			if !ok && !strings.Contains(action, "default") {
				return unresolved
			}
		}
	}
	if !ok {
		return unresolved
	}
	return value
}

// operand gives the value of a literal or of a variable of env.
func operand(word string, env map[string]string) (string, bool) {
	if len(word) >= 2 && strings.ContainsAny(word[:1], "\"`") && word[len(word)-1] == word[0] {
		return word[1 : len(word)-1], true
	}
	name, ok := strings.CutPrefix(word, ".")
	if !ok {
		return "", false
	}
	name = strings.TrimPrefix(name, "Env.")
	value, ok := env[name]
	return value, ok
}
