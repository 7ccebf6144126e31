// Package write makes the file that is carried to the site: the installer in front, every blob once, the documents at the end. What
// it has written it opens and tries before the file gets its name.
package write
