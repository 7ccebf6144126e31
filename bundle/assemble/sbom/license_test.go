package sbom

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLicencesAreExpressionsOfSPDXOrNone(t *testing.T) {
	for text, want := range map[string]string{
		"MIT":                  "MIT",
		"apache-2.0":           "Apache-2.0",
		"MIT or Apache-2.0":    "MIT OR Apache-2.0",
		"(MIT)":                "MIT",
		"(MIT OR ISC)AND Zlib": "(MIT OR ISC) AND Zlib",
		"GPL-2.0+":             "GPL-2.0+",
		"EPL-2.0+":             "EPL-2.0+",
		"GPL-2.0-only WITH Classpath-exception-2.0": "GPL-2.0-only WITH Classpath-exception-2.0",

		"":                        "",
		"GPL":                     "",
		"BSD style":               "",
		"MIT AND":                 "",
		"MIT Apache-2.0":          "",
		"(MIT":                    "",
		"MIT)":                    "",
		"MIT WITH":                "",
		"MIT WITH ISC":            "",
		"LicenseRef-ours":         "",
		"MIT AND LicenseRef-ours": "",
		"Mit And Isc":             "",
		strings.Repeat("(", 1000) + "MIT" + strings.Repeat(")", 1000): "",
		strings.Repeat("MIT OR ", 1000) + "MIT":                       "",
	} {
		got, ok := Expression(text)
		if got == want && ok == (want != "") {
			continue
		}
		if want != "" || ok {
			t.Errorf("%.60q is %q, %t; want %q", text, got, ok, want)
		}
	}
}

func TestWhatIsNoExpressionKeepsItsName(t *testing.T) {
	got := readTerms([]License{
		{Value: "GPL-2", SPDX: "GPL-2.0-only"},
		{Value: "BSD-like, see copyright"},
		{Value: "mit"},
		{Value: "MIT", SPDX: "MIT"},
		{Value: "custom", SPDX: "LicenseRef-custom"},
		{Value: "  "},
		{},
	})
	want := terms{expressions: []string{"GPL-2.0-only", "MIT"}, names: []string{"BSD-like, see copyright", "custom"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(terms{})); diff != "" {
		t.Errorf("licences (-want +got):\n%s", diff)
	}
	if got := joined([]string{"A OR B", "C AND D", "E"}); got != "(A OR B) AND C AND D AND E" {
		t.Errorf("joined they are %q", got)
	}
}

func TestCycloneDXKnowsMostLicences(t *testing.T) {
	for _, id := range []string{"MIT", "Apache-2.0", "GPL-2.0-only", "GPL-2.0+"} {
		if !cyclonedxIDs()[id] {
			t.Errorf("%s is none of the identifiers of CycloneDX", id)
		}
	}
}

// What is read as an expression reads as itself.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{"MIT", "(MIT OR Apache-2.0+) AND GPL-2.0-only WITH Classpath-exception-2.0", "((", "MIT AND (", "LicenseRef-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, ok := Expression(text)
		if !ok {
			return
		}
		if again, ok := Expression(once); !ok || again != once {
			t.Errorf("%q is read as %q, and that as %q, %t", text, once, again, ok)
		}
	})
}
