// Package search finds what makes a cluster pull images: in a build context, to tell it early, and in the layers of an image, which
// are what the site gets. It reads and dials nobody.
package search
