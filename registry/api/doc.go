// Package api answers the requests of the OCI distribution specification out of a storage driver of the distribution registry.
//
// It promises the specification's four parts: pull, push, content discovery (tags, the catalog and the referrers API, in pages)
// and content management, as far as [Options] allow them. Routes, error codes, manifests and what lies in the storage are those
// of github.com/distribution/distribution/v3; what the methods do is written here, so that a program that serves a registry does
// not carry the clients of Redis, of tracing collectors and of notification endpoints along.
//
// Blobs are not read here: the caller can serve them better than a storage driver does. Names are taken as they come. The one cache
// is of the digests of subjects, and what it holds cannot go out of date.
package api
