package kube

import (
	"math"
	"strconv"
	"strings"
)

// units are the suffixes of Kubernetes' quantities.
var units = map[string]float64{
	"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}

// amount reads a quantity as the API prints it: "500m", "1.5", "128Mi", "1e3". What cannot be read is 0.
func amount(text string) float64 {
	number := strings.TrimRight(text, "mkKMGTPEi")
	if f, err := strconv.ParseFloat(text, 64); err == nil { // "1e3", whose E is no suffix
		return f
	}
	f, err := strconv.ParseFloat(number, 64)
	unit, known := units[text[len(number):]]
	if err != nil || !known || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f * unit
}

// milli reads a quantity of processors, in thousandths of a core, and quantity one of bytes.
func milli(text string) int64    { return int64(math.Ceil(amount(text) * 1000)) }
func quantity(text string) int64 { return int64(math.Ceil(amount(text))) }
