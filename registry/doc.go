// Package registry serves container images.
//
// [NewHandler] serves a store, or the blobs of a [catalog.Source] where they lie, as a registry; [ServeConfig] does so from a
// distribution configuration file. Repositories answer by full name, by path alone and with ?ns=. Package api answers everything
// but the blobs, from a storage driver: one driver shows a store's tree, the other makes up a tree from a catalog.
//
// The packages below it are, from the ground up: catalog, which says what images consist of; disk, the store; storesync, which
// sends a store what it lacks; api, the requests of OCI's distribution specification.
package registry
