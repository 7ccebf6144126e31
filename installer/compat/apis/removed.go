// Package apis finds what uses versions of Kubernetes' API that a version of Kubernetes does not serve: stored objects, releases of
// Helm, clients, and files. What it is given to read may hold secrets; what it gives are names, versions and lines.
package apis

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind is a kind of a version of the API: policy/v1beta1 and PodDisruptionBudget.
type Kind struct {
	Version string `json:"version"`
	Name    string `json:"name"`
}

func (k Kind) String() string { return k.Version + " " + k.Name }

// Table says in which minor version of Kubernetes a kind is not served any more.
type Table map[Kind]int

//go:embed removed.txt
var removedText string

// Removed is what Kubernetes' own types say, up to a minor version; later ones are what was planned then. The command test/removals
// makes it.
func Removed() (table Table, upTo int) {
	table, upTo, err := readTable(removedText)
	if err != nil {
		panic("apis: " + err.Error()) // it is part of the program
	}
	return table, upTo
}

func readTable(text string) (Table, int, error) {
	table, upTo := Table{}, 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case len(f) == 2 && f[0] == "upto":
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return nil, 0, err
			}
			upTo = n
		case len(f) == 3:
			n, err := strconv.Atoi(f[2])
			if err != nil {
				return nil, 0, err
			}
			table[Kind{f[0], f[1]}] = n
		default:
			return nil, 0, fmt.Errorf("removed.txt: %q", line)
		}
	}
	return table, upTo, nil
}

// In is the part of the table that is gone in a minor version.
func (t Table) In(minor int) Table {
	out := Table{}
	for k, in := range t {
		if in <= minor {
			out[k] = in
		}
	}
	return out
}

// kinds are the names of the kinds.
func (t Table) kinds() []string {
	var out []string
	for k := range t {
		out = append(out, k.Name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
