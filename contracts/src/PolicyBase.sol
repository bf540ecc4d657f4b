// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {Ownable2StepUpgradeable} from
    "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {Initializable} from "@openzeppelin/contracts-upgradeable/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts-upgradeable/proxy/utils/UUPSUpgradeable.sol";
import {ERC165Upgradeable} from
    "@openzeppelin/contracts-upgradeable/utils/introspection/ERC165Upgradeable.sol";

/// What both contracts share: one audit event for every change of policy, a counter of changes, a
/// guardian who may only take permissions away, and periods outside which an entry does not hold.
///
/// Its state lies in a namespace of its own (ERC-7201), so that the numbered slots of the contracts
/// stay where earlier implementations have them and a proxy may be upgraded in both directions.
abstract contract PolicyBase is
    Initializable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    ERC165Upgradeable
{
    /// Bounds of an entry, in seconds of block time, both inclusive; 0 is no bound.
    struct Validity {
        uint64 notBefore;
        uint64 notAfter;
    }

    /// @custom:storage-location erc7201:dstack.storage.Policy
    struct PolicyStorage {
        // One slot, so that one storage read (or proof) tells whether anything changed.
        uint64 policyVersion;
        address guardian;
        mapping(bytes32 policy => mapping(bytes32 value => Validity)) validity;
    }

    // keccak256(abi.encode(uint256(keccak256("dstack.storage.Policy")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant POLICY_STORAGE =
        0x10faa73860e0bd1c6350c3e2fc2d97ead2601b59a704f059871499b56d3b3c00;

    bytes32 internal constant POLICY_UPGRADE = keccak256("implementation-upgrade");
    bytes32 internal constant POLICY_GUARDIAN = keccak256("guardian");

    /// Follows the specific event of every change. `policy` is the keccak of the policy's name,
    /// `value` what was changed: a hash as it is, an address left-padded, text and bytes hashed.
    event PolicyChanged(
        address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled
    );
    event GuardianSet(address guardian);
    event ValiditySet(
        bytes32 indexed policy, bytes32 indexed value, uint64 notBefore, uint64 notAfter
    );

    modifier onlyOwnerOrGuardian() {
        if (_msgSender() != _policy().guardian) {
            _checkOwner();
        }
        _;
    }

    /// Counts the changes: the same number means the same policy, except for the passing of time.
    function policyVersion() external view returns (uint64) {
        return _policy().policyVersion;
    }

    /// Who may remove entries besides the owner, and nothing else; zero for nobody.
    function guardian() external view returns (address) {
        return _policy().guardian;
    }

    function setGuardian(address newGuardian) external onlyOwner {
        _setGuardian(newGuardian);
    }

    function validity(bytes32 policy, bytes32 value)
        external
        view
        returns (uint64 notBefore, uint64 notAfter)
    {
        Validity storage period = _policy().validity[policy][value];
        return (period.notBefore, period.notAfter);
    }

    /// Bounds an entry of a list, before or after it is added. Removing the entry forgets its bounds.
    function setValidity(bytes32 policy, bytes32 value, uint64 notBefore, uint64 notAfter)
        external
        onlyOwner
    {
        require(_hasValidity(policy), "Policy has no validity period");
        require(notAfter == 0 || notBefore <= notAfter, "Validity ends before it begins");
        _policy().validity[policy][value] = Validity(notBefore, notAfter);
        emit ValiditySet(policy, value, notBefore, notAfter);
        _touch();
    }

    /// Also tells of the upgrade in the audit events.
    function upgradeToAndCall(address newImplementation, bytes memory data)
        public
        payable
        override
    {
        super.upgradeToAndCall(newImplementation, data);
        _changed(POLICY_UPGRADE, _word(newImplementation), true);
    }

    function _setGuardian(address newGuardian) internal {
        _policy().guardian = newGuardian;
        emit GuardianSet(newGuardian);
        _changed(POLICY_GUARDIAN, _word(newGuardian), newGuardian != address(0));
    }

    /// Whether entries of a list can be bounded in time.
    function _hasValidity(bytes32 policy) internal pure virtual returns (bool);

    function _inForce(bytes32 policy, bytes32 value) internal view returns (bool) {
        Validity storage period = _policy().validity[policy][value];
        return block.timestamp >= period.notBefore
            && (period.notAfter == 0 || block.timestamp <= period.notAfter);
    }

    function _forgetValidity(bytes32 policy, bytes32 value) internal {
        delete _policy().validity[policy][value];
    }

    function _changed(bytes32 policy, bytes32 value, bool enabled) internal {
        _touch();
        emit PolicyChanged(_msgSender(), policy, value, enabled);
    }

    function _touch() internal {
        unchecked {
            _policy().policyVersion++;
        }
    }

    function _word(address value) internal pure returns (bytes32) {
        return bytes32(uint256(uint160(value)));
    }

    function _isUpToDate(string calldata tcbStatus) internal pure returns (bool) {
        return keccak256(bytes(tcbStatus)) == keccak256("UpToDate");
    }

    function _policy() private pure returns (PolicyStorage storage s) {
        assembly {
            s.slot := POLICY_STORAGE
        }
    }
}
