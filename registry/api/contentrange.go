package api

import (
	"fmt"
	"strconv"
	"strings"
)

// parseContentRange reads the range of a chunk, "0-1023": the numbers of its first and its last byte. What the standard writes
// before and behind ("bytes 0-1023/2048") is passed over.
func parseContentRange(text string) (first, last int64, err error) {
	numbers, _, _ := strings.Cut(strings.TrimPrefix(text, "bytes "), "/")
	from, to, ok := strings.Cut(numbers, "-")
	if ok {
		first, err = number(from)
	}
	if ok && err == nil {
		last, err = number(to)
	}
	if !ok || err != nil || last < first {
		return 0, 0, fmt.Errorf("Content-Range %.100q is not FIRST-LAST", text)
	}
	return first, last, nil
}

// number reads digits only.
func number(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	return int64(n), err
}
