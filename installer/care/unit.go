package care

// Unit is the transient service that keeps the virtual address alive on a
// node from before it joins until the cluster's own pod does it.
const Unit = "sealos-care"
