// Package registry keeps, moves and serves container images.
//
// It promises six things.
//
//   - A [Catalog] names every blob and every link a set of images needs; [BuildCatalog] makes one by reading
//     manifests, and fails rather than leave out a config or a layer.
//   - A [Store] is a directory in the layout of the distribution registry (docker/registry/v2/…). Any registry
//     of that family can serve it, before, while and after this package writes to it.
//   - [Push] and [Store.Receive] are the two ends of one byte stream. The receiver looks at its own disk and
//     says what it lacks; the sender sends that and nothing else. A session cut anywhere leaves a valid store,
//     and the next one goes on at the byte where a blob stopped. WIRE.md describes the stream.
//   - A [Fanout] makes pushes to several hosts one chain, so that the sender's link carries each blob once.
//   - [Store.Collect] removes what is not kept, [Store.Heal] finds and repairs what is damaged.
//   - [NewHandler] serves a store, or the blobs of a [Source] where they lie, as a registry; [ServeConfig] does so
//     from a distribution configuration file. Repositories answer by full name, by path alone and with ?ns=. Package api
//     answers all but the blobs, out of a storage driver: one shows a store's tree, another makes one up of a catalog.
//
// # Durability
//
// What a name in the store points to is on the disk before the name is. In detail:
//
//  1. A blob is written below <root>/.sealbuild, hashed while it arrives, fsynced, and only then renamed to
//     its place. A file that has the name of a blob therefore has the blob's content, even after a power cut.
//  2. When every blob is in place the filesystem is synced once; that makes all the renames durable. One syncfs costs
//     what a directory fsync costs and replaces thousands of them.
//  3. Links (layers, then manifests with children first, then the tags' history) are written aside, synced
//     together, renamed, and synced again.
//  4. Only then do the tags' current links change, in the same way. Success is reported after the last sync.
//
// So a tag never names a manifest that is not there, and a manifest never names a blob that is not there, whenever
// the power fails. Two sessions may fill one store at once: a partial blob is held by a file lock, who does not get it
// writes a copy of its own, and both end in the same rename.
package registry
