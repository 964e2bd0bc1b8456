import Foundation
import HostModel

/// An `http://` or `https://` address.
package struct WebAddress: Sendable, Equatable, CustomStringConvertible {
    let isSecure: Bool
    let host: String
    let port: Int
    let user: String?
    let password: String?
    /// The whole address.
    package let text: String

    /// Nil if the text is not such an address.
    package init?(_ text: String) { self.init(text, portByDefault: nil) }

    init?(_ text: String, portByDefault: Int?) {
        guard text.unicodeScalars.allSatisfy({ $0.value > 32 && $0.value != 127 }), let url = URL(string: text),
            let scheme = url.scheme?.lowercased(), ["http", "https"].contains(scheme),
            let host = url.host(percentEncoded: false), !host.isEmpty, url.port.map({ 1...65535 ~= $0 }) ?? true
        else { return nil }
        isSecure = scheme == "https"
        self.host = host
        port = url.port ?? portByDefault ?? (isSecure ? 443 : 80)
        user = url.user(percentEncoded: false)
        password = url.password(percentEncoded: false)
        self.text = text
    }

    /// The address without a password, for messages.
    package var description: String {
        password == nil ? text : text.replacing(/\/\/[^\/@]*@/, with: "//", maxReplacements: 1)
    }

    /// Where a `Location` header leads from here.
    /// - Throws: `HostError` if the server must not send anybody there.
    func redirected(to location: String) throws(HostError) -> WebAddress {
        let target = URL(string: location, relativeTo: URL(string: text))?.absoluteString ?? location
        guard let address = WebAddress(target) else {
            throw HostError(
                .unavailable, "\(self) redirects to \(InstanceName.quoted(location)), which is not a web address",
                hint: "the server must not lead elsewhere than to http:// and https:// addresses")
        }
        guard address.isSecure || !isSecure else {
            throw HostError(
                .unavailable, "\(self) redirects to \(address), which is not encrypted",
                hint: "use an address that stays with https://, or name the http:// address itself")
        }
        return address
    }
}
