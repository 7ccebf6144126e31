package scan

import (
	"cmp"
	"slices"
)

// Merge adds what another scan of the same context found: with its Kubefile as
// it reads for another platform.
func (r *Result) Merge(o *Result) {
	for _, f := range o.Images {
		i, there := slices.BinarySearchFunc(r.Images, f, func(a, b Found) int { return cmp.Compare(a.Ref, b.Ref) })
		if !there {
			r.Images = slices.Insert(r.Images, i, f)
			continue
		}
		r.Images[i] = surer(r.Images[i], f)
	}
	r.Archives = union(r.Archives, o.Archives)
	r.Warnings = union(r.Warnings, o.Warnings)
	r.Errors = union(r.Errors, o.Errors)
}

// surer joins what two scans say of a reference; the surer place leads.
func surer(a, b Found) Found {
	if a.Certainty == Suspected && b.Certainty == Certain {
		a, b = b, a
	}
	a.Test = a.Test && b.Test
	for _, p := range append([]Place{b.Place}, b.Also...) {
		if p != a.Place && !slices.Contains(a.Also, p) && len(a.Also) < maxPlaces {
			a.Also = append(slices.Clip(a.Also), p)
		}
	}
	return a
}

func union[T comparable](a, b []T) []T {
	for _, one := range b {
		if !slices.Contains(a, one) {
			a = append(slices.Clip(a), one)
		}
	}
	return a
}
