import HostOS

/// Makes inputs from a corpus by small changes. The same seed makes the same inputs, so a failure can be reproduced.
package enum Fuzz {
    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
    package struct Generator: RandomNumberGenerator {
        private var state: UInt64

        package init(seed: UInt64) { state = seed }

        package mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    /// The files of `Tests/Corpus/NAME`, sorted by name.
    package static func corpus(_ name: String) throws -> [[UInt8]] {
        let directory = "\(Checkout.root)/Tests/Corpus/\(name)"
        return try Files.names(in: directory).map { try TextFile.bytes("\(directory)/\($0)") }
    }

    /// Feeds the unchanged corpus, then `count` mutations of it.
    package static func round(
        _ name: String, seed: UInt64, count: Int, _ feed: ([UInt8]) throws -> Void
    ) throws {
        let corpus = try corpus(name)
        for input in corpus { try feed(input) }
        var generator = Generator(seed: seed)
        for _ in 0..<count {
            guard let input = corpus.randomElement(using: &generator) else { return }
            try feed(mutated(input, corpus, &generator))
        }
    }

    private static func mutated(_ input: [UInt8], _ corpus: [[UInt8]], _ generator: inout Generator) -> [UInt8] {
        var bytes = input
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let place = bytes.isEmpty ? 0 : Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<7, using: &generator) {
            case 0 where !bytes.isEmpty: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1 where !bytes.isEmpty: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 2: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
            case 3 where !bytes.isEmpty: bytes.removeSubrange(place..<min(bytes.count, place + 8))
            case 4: bytes.insert(contentsOf: [UInt8](repeating: bytes.first ?? 0, count: 300), at: place)
            case 5: bytes.insert(contentsOf: corpus.randomElement(using: &generator)?.prefix(64) ?? [], at: place)
            default: bytes = Array(bytes.prefix(place))
            }
        }
        return bytes
    }
}
