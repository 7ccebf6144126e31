package api

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/reference"
)

// usualPage is how many repositories are listed for a client that does not say how many it wants.
const usualPage = 100

// wholeTag and wholeName are what a list may be asked to go on after. Names grow while they are typed, so a dot may end one.
var (
	wholeTag  = regexp.MustCompile(`^` + reference.TagRegexp.String() + `$`)
	wholeName = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]{0,254}$`)
)

// page returns how many entries a client wants, or usual if it does not say, and the entry that it has seen last.
func (c *call) page(usual int, valid *regexp.Regexp) (n int, last string, err error) {
	q := c.r.URL.Query()
	n = usual
	if text := q.Get("n"); text != "" {
		n, err = strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, "", errcode.ErrorCodePaginationNumberInvalid.WithDetail(map[string]string{"n": text})
		}
	}
	last = q.Get("last")
	if last != "" && !valid.MatchString(last) {
		return 0, "", errcode.ErrorCodePaginationNumberInvalid.WithMessage("no list has such an entry to go on after").WithDetail(map[string]string{"last": last})
	}
	return n, last, nil
}

// next tells the client where the list goes on.
func (c *call) next(values url.Values) {
	u := url.URL{Path: c.r.URL.Path, RawQuery: values.Encode()}
	c.w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, u.String()))
}

func (h *handler) tags(c *call) error {
	ctx := c.r.Context()
	n, last, err := c.page(-1, wholeTag)
	if err != nil {
		return err
	}
	if h.TagsPage > 0 && n > h.TagsPage {
		n = h.TagsPage
	}
	tags := []string{}
	if n != 0 {
		// One more than is wanted tells whether there is another page.
		limit := n
		if n > 0 {
			limit++
		}
		found, err := c.repo.Tags(ctx).List(ctx, limit, last)
		if errors.As(err, new(distribution.ErrRepositoryUnknown)) {
			return errcode.ErrorCodeNameUnknown.WithDetail(map[string]string{"name": c.repo.Named().Name()})
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		tags = append(tags, found...)
	}
	if n > 0 && len(tags) > n {
		tags = tags[:n]
		c.next(url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}})
	}
	return c.json(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{c.repo.Named().Name(), tags}, "application/json")
}

func (h *handler) catalog(c *call) error {
	n, last, err := c.page(min(usualPage, h.CatalogPage), wholeName)
	if err != nil {
		return err
	}
	if n > h.CatalogPage {
		return errcode.ErrorCodePaginationNumberInvalid.WithDetail(map[string]int{"n": n, "most": h.CatalogPage})
	}
	names := []string{}
	if n > 0 {
		names = make([]string, n+1)
		found, err := h.registry.Repositories(c.r.Context(), names, last)
		if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, new(driver.PathNotFoundError)) {
			return err
		}
		names = names[:found]
	}
	if len(names) > n {
		names = names[:n]
		c.next(url.Values{"n": {strconv.Itoa(n)}, "last": {names[n-1]}})
	}
	return c.json(struct {
		Repositories []string `json:"repositories"`
	}{names}, "application/json")
}
