package scan

import (
	"cmp"
	"slices"
)

// Union is what several scans found together: those of one context for
// several platforms, whose Kubefiles may copy other files and set other
// values. What one is certain of is certain.
func Union(all ...*Result) *Result {
	if len(all) == 1 {
		return all[0]
	}
	u := &Result{Images: []Found{}}
	for _, r := range all {
		for _, f := range r.Images {
			i := slices.IndexFunc(u.Images, func(o Found) bool { return o.Ref == f.Ref })
			switch {
			case i < 0:
				u.Images = append(u.Images, f)
			case u.Images[i].Certainty == Suspected && f.Certainty == Certain:
				f.Also = places(f, u.Images[i])
				u.Images[i] = f
			default:
				u.Images[i].Also = places(u.Images[i], f)
			}
		}
		u.Archives = appendNew(u.Archives, r.Archives)
		u.Warnings = appendNew(u.Warnings, r.Warnings)
		u.Errors = appendNew(u.Errors, r.Errors)
	}
	slices.SortFunc(u.Images, func(a, b Found) int { return cmp.Compare(a.Ref, b.Ref) })
	return u
}

// places are the other places of an image, with those that it has elsewhere.
func places(f, elsewhere Found) []Place {
	all := slices.Clone(f.Also)
	for _, p := range append([]Place{elsewhere.Place}, elsewhere.Also...) {
		if p != f.Place && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

func appendNew[T comparable](all, more []T) []T {
	for _, v := range more {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
