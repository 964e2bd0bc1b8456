/// What has the machine's network on the host. The raw values are those of `network` in `hostagent.yaml`.
package enum NetworkBackend: String, Sendable, CaseIterable {
    /// QEMU itself.
    case user
    /// A process of passt(1).
    case passt
}
