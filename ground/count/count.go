// Package count writes numbers of things as persons do: "1 problem", "2 problems".
package count

import "strconv"

// Of is a number and what it counts: one thing, or many, whose word ends in s unless it is given.
func Of[N int | int64 | uint64](n N, one string, many ...string) string {
	return strconv.FormatInt(int64(n), 10) + " " + Word(n, one, many...)
}

// Word is the word that goes with a number: of things that are counted elsewhere, and its verb, as Word(n, "is", "are").
func Word[N int | int64 | uint64](n N, one string, many ...string) string {
	switch {
	case n == 1:
		return one
	case len(many) > 0:
		return many[0]
	}
	return one + "s"
}
