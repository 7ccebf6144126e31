package sbom

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/github/go-spdx/v2/spdxexp/spdxlicenses"
)

// License is what somebody says of a licence. SPDX is its reading as an expression, where whoever found it had one.
type License struct {
	Value string `json:"value,omitempty"`
	SPDX  string `json:"spdx,omitempty"`
}

// terms are licences as bills of materials write them. All of them hold.
type terms struct {
	expressions []string // of SPDX, in its own writing
	names       []string // what is none
}

func readTerms(all []License) (t terms) {
	for _, l := range all {
		for _, text := range []string{l.SPDX, l.Value} {
			if e, ok := Expression(text); ok {
				t.expressions = append(t.expressions, e)
				break
			}
			if name := strings.TrimSpace(text); text == l.Value && name != "" {
				t.names = append(t.names, name)
			}
		}
	}
	for _, list := range []*[]string{&t.expressions, &t.names} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return t
}

// joined is one expression of all that are given.
func joined(expressions []string) string {
	if len(expressions) == 1 {
		return expressions[0]
	}
	var parts []string
	for _, e := range expressions {
		if strings.Contains(e, " OR ") {
			e = "(" + e + ")"
		}
		parts = append(parts, e)
	}
	return strings.Join(parts, " AND ")
}

// The bounds of an expression: beyond them it is a text.
const (
	maxExpression = 4 << 10
	maxDepth      = 32
)

// Expression reads a licence expression of SPDX and gives it in SPDX's own writing: of identifiers in capitals or not, and of
// operators. A LicenseRef stands for a text that is not here, so an expression with one is none.
func Expression(text string) (string, bool) {
	if len(text) > maxExpression {
		return "", false
	}
	p := expression{tokens: strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text))}
	e, ok := p.any(0)
	return e, ok && len(p.tokens) == 0
}

// expression is what is left to read of one.
type expression struct{ tokens []string }

func (p *expression) operator(word string) bool {
	if len(p.tokens) == 0 || p.tokens[0] != word && p.tokens[0] != strings.ToLower(word) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

func (p *expression) any(depth int) (string, bool) { return p.list("OR", depth, p.all) }
func (p *expression) all(depth int) (string, bool) { return p.list("AND", depth, p.one) }

// list reads what an operator stands between.
func (p *expression) list(operator string, depth int, read func(int) (string, bool)) (string, bool) {
	var parts []string
	for {
		part, ok := read(depth)
		if !ok {
			return "", false
		}
		if parts = append(parts, part); !p.operator(operator) {
			return strings.Join(parts, " "+operator+" "), true
		}
	}
}

// one reads a licence, with its exception, or what is in parentheses.
func (p *expression) one(depth int) (string, bool) {
	if depth > maxDepth || len(p.tokens) == 0 {
		return "", false
	}
	word := p.tokens[0]
	p.tokens = p.tokens[1:]
	if word == "(" {
		inner, ok := p.any(depth + 1)
		if !ok || !p.operator(")") {
			return "", false
		}
		if !strings.Contains(inner, " ") {
			return inner, true
		}
		return "(" + inner + ")", true
	}
	license, ok := licenseID(word)
	if !ok || !p.operator("WITH") {
		return license, ok
	}
	if len(p.tokens) == 0 {
		return "", false
	}
	known, exception := spdxlicenses.IsException(p.tokens[0])
	p.tokens = p.tokens[1:]
	return license + " WITH " + exception, known
}

// licenseID is an identifier of SPDX's list in its writing there, with a plus behind it or without.
func licenseID(word string) (string, bool) {
	for _, is := range []func(string) (bool, string){spdxlicenses.IsActiveLicense, spdxlicenses.IsDeprecatedLicense} {
		if ok, id := is(word); ok {
			return id, true
		}
	}
	base, later := strings.CutSuffix(word, "+")
	if ok, id := spdxlicenses.IsActiveLicense(base); ok && later {
		return id + "+", true
	}
	return "", false
}

//go:embed schema/cyclonedx-licenses.json
var cyclonedxLicenses []byte

// cyclonedxIDs are the identifiers that CycloneDX 1.6 takes as such. SPDX's list has grown since.
var cyclonedxIDs = sync.OnceValue(func() map[string]bool {
	var schema struct{ Enum []string }
	ids := map[string]bool{}
	if err := json.Unmarshal(cyclonedxLicenses, &schema); err != nil {
		return ids // a test reads it, too
	}
	for _, id := range schema.Enum {
		ids[id] = true
	}
	return ids
})
