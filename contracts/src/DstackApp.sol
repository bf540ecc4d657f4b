// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {IAppAuth, IAppAuthBasicManagement} from "./IAppAuth.sol";
import {PolicyBase} from "./PolicyBase.sol";

/// Which code of one app may have the app's keys, and where. The address of its proxy is the app id.
contract DstackApp is IAppAuth, IAppAuthBasicManagement, PolicyBase {
    mapping(bytes32 composeHash => bool) public allowedComposeHashes; // slot 0
    bool private _upgradesDisabled; // slot 1, byte 0
    bool public allowAnyDevice; // slot 1, byte 1
    mapping(bytes32 deviceId => bool) public allowedDeviceIds; // slot 2
    bool public requireTcbUpToDate; // slot 3
    uint256[49] private __gap; // slots 4 to 52

    /// @custom:storage-location erc7201:dstack.storage.AppLimits
    struct AppLimits {
        bool restrictOsImages;
        mapping(bytes32 osImageHash => bool) osImages;
        mapping(bytes32 advisory => bool) refusedAdvisories;
    }

    // keccak256(abi.encode(uint256(keccak256("dstack.storage.AppLimits")) - 1))
    // & ~bytes32(uint256(0xff))
    bytes32 private constant APP_LIMITS =
        0xb729681cefbe21f57ef7c397876956bf78b01d9c92a3cc759a160ea4d5184c00;

    bytes32 private constant POLICY_COMPOSE = keccak256("compose-hash");
    bytes32 private constant POLICY_DEVICE = keccak256("device");
    bytes32 private constant POLICY_ANY_DEVICE = keccak256("allow-any-device");
    bytes32 private constant POLICY_TCB = keccak256("require-tcb-up-to-date");
    bytes32 private constant POLICY_NO_UPGRADES = keccak256("upgrades-disabled");
    bytes32 private constant POLICY_OS_IMAGE = keccak256("os-image");
    bytes32 private constant POLICY_RESTRICT_OS_IMAGES = keccak256("restrict-os-images");
    bytes32 private constant POLICY_REFUSED_ADVISORY = keccak256("refused-advisory");

    event AllowAnyDeviceSet(bool allowAny);
    event RequireTcbUpToDateSet(bool requireUpToDate);
    event UpgradesDisabled();
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);
    event RestrictOsImagesSet(bool restricted);
    event AdvisoryRefusedSet(string advisoryId, bool refused);

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    function initialize(
        address initialOwner,
        bool disableUpgradesNow,
        bool requireUpToDate,
        bool allowAny,
        bytes32 deviceId,
        bytes32 composeHash
    ) external initializer {
        _initialize(
            initialOwner, disableUpgradesNow, requireUpToDate, allowAny, deviceId, composeHash
        );
    }

    /// The older form, which asks nothing of the TCB.
    function initialize(
        address initialOwner,
        bool disableUpgradesNow,
        bool allowAny,
        bytes32 deviceId,
        bytes32 composeHash
    ) external initializer {
        _initialize(initialOwner, disableUpgradesNow, false, allowAny, deviceId, composeHash);
    }

    /// The version of this interface.
    function version() external pure returns (uint256) {
        return 2;
    }

    function isAppAllowed(AppBootInfo calldata bootInfo)
        external
        view
        returns (bool isAllowed, string memory reason)
    {
        AppLimits storage limits = _limits();
        if (requireTcbUpToDate && !_isUpToDate(bootInfo.tcbStatus)) {
            return (false, "TCB status is not up to date");
        }
        for (uint256 i = 0; i < bootInfo.advisoryIds.length; i++) {
            if (limits.refusedAdvisories[keccak256(bytes(bootInfo.advisoryIds[i]))]) {
                return (false, "Security advisory is not accepted");
            }
        }
        if (limits.restrictOsImages) {
            if (!limits.osImages[bootInfo.osImageHash]) {
                return (false, "OS image is not allowed");
            }
            if (!_inForce(POLICY_OS_IMAGE, bootInfo.osImageHash)) {
                return (false, "OS image is outside its validity period");
            }
        }
        if (!allowedComposeHashes[bootInfo.composeHash]) {
            return (false, "Compose hash not allowed");
        }
        if (!_inForce(POLICY_COMPOSE, bootInfo.composeHash)) {
            return (false, "Compose hash is outside its validity period");
        }
        if (!allowAnyDevice) {
            if (!allowedDeviceIds[bootInfo.deviceId]) {
                return (false, "Device not allowed");
            }
            if (!_inForce(POLICY_DEVICE, bootInfo.deviceId)) {
                return (false, "Device is outside its validity period");
            }
        }
        return (true, "");
    }

    // ---- code and devices ----

    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _addComposeHash(composeHash);
    }

    function removeComposeHash(bytes32 composeHash) external onlyOwnerOrGuardian {
        delete allowedComposeHashes[composeHash];
        _forgetValidity(POLICY_COMPOSE, composeHash);
        emit ComposeHashRemoved(composeHash);
        _changed(POLICY_COMPOSE, composeHash, false);
    }

    function addDevice(bytes32 deviceId) external onlyOwner {
        _addDevice(deviceId);
    }

    /// Has no effect on decisions while any device is allowed.
    function removeDevice(bytes32 deviceId) external onlyOwnerOrGuardian {
        delete allowedDeviceIds[deviceId];
        _forgetValidity(POLICY_DEVICE, deviceId);
        emit DeviceRemoved(deviceId);
        _changed(POLICY_DEVICE, deviceId, false);
    }

    function setAllowAnyDevice(bool allowAny) external onlyOwner {
        allowAnyDevice = allowAny;
        emit AllowAnyDeviceSet(allowAny);
        _changed(POLICY_ANY_DEVICE, 0, allowAny);
    }

    function setRequireTcbUpToDate(bool requireUpToDate) external onlyOwner {
        requireTcbUpToDate = requireUpToDate;
        emit RequireTcbUpToDateSet(requireUpToDate);
        _changed(POLICY_TCB, 0, requireUpToDate);
    }

    // ---- this app's own limits on what the KMS allows to all ----

    function restrictOsImages() external view returns (bool) {
        return _limits().restrictOsImages;
    }

    function allowedOsImages(bytes32 osImageHash) external view returns (bool) {
        return _limits().osImages[osImageHash];
    }

    /// By keccak of the advisory's id.
    function refusedAdvisories(bytes32 advisory) external view returns (bool) {
        return _limits().refusedAdvisories[advisory];
    }

    /// From now on only the OS images of this app's own list, among those that the KMS allows: keeps
    /// an app away from development images.
    function setRestrictOsImages(bool restricted) external onlyOwner {
        _limits().restrictOsImages = restricted;
        emit RestrictOsImagesSet(restricted);
        _changed(POLICY_RESTRICT_OS_IMAGES, 0, restricted);
    }

    function addOsImageHash(bytes32 osImageHash) external onlyOwner {
        _limits().osImages[osImageHash] = true;
        emit OsImageHashAdded(osImageHash);
        _changed(POLICY_OS_IMAGE, osImageHash, true);
    }

    function removeOsImageHash(bytes32 osImageHash) external onlyOwnerOrGuardian {
        delete _limits().osImages[osImageHash];
        _forgetValidity(POLICY_OS_IMAGE, osImageHash);
        emit OsImageHashRemoved(osImageHash);
        _changed(POLICY_OS_IMAGE, osImageHash, false);
    }

    /// Refuses platforms to which a vendor's advisory applies, whatever their status.
    function setAdvisoryRefused(string calldata advisoryId, bool refused) external onlyOwner {
        bytes32 advisory = keccak256(bytes(advisoryId));
        _limits().refusedAdvisories[advisory] = refused;
        emit AdvisoryRefusedSet(advisoryId, refused);
        _changed(POLICY_REFUSED_ADVISORY, advisory, refused);
    }

    // ---- upgrades ----

    /// Cannot be undone. Stops changes of this contract's code; its lists still belong to the owner.
    function disableUpgrades() external onlyOwner {
        _upgradesDisabled = true;
        emit UpgradesDisabled();
        _changed(POLICY_NO_UPGRADES, 0, true);
    }

    /// Freezes the lists for good, from the guardian as well.
    function renounceOwnership() public override onlyOwner {
        _setGuardian(address(0));
        super.renounceOwnership();
    }

    function supportsInterface(bytes4 interfaceId) public view override returns (bool) {
        return interfaceId == type(IAppAuth).interfaceId
            || interfaceId == type(IAppAuthBasicManagement).interfaceId
            || super.supportsInterface(interfaceId);
    }

    function _initialize(
        address initialOwner,
        bool disableUpgradesNow,
        bool requireUpToDate,
        bool allowAny,
        bytes32 deviceId,
        bytes32 composeHash
    ) private {
        require(initialOwner != address(0), "invalid owner address");
        _upgradesDisabled = disableUpgradesNow;
        requireTcbUpToDate = requireUpToDate;
        allowAnyDevice = allowAny;
        if (deviceId != 0) {
            _addDevice(deviceId);
        }
        if (composeHash != 0) {
            _addComposeHash(composeHash);
        }
        __Ownable_init(initialOwner);
        __Ownable2Step_init();
        __UUPSUpgradeable_init();
        __ERC165_init();
    }

    function _addComposeHash(bytes32 composeHash) private {
        allowedComposeHashes[composeHash] = true;
        emit ComposeHashAdded(composeHash);
        _changed(POLICY_COMPOSE, composeHash, true);
    }

    function _addDevice(bytes32 deviceId) private {
        allowedDeviceIds[deviceId] = true;
        emit DeviceAdded(deviceId);
        _changed(POLICY_DEVICE, deviceId, true);
    }

    function _authorizeUpgrade(address) internal view override onlyOwner {
        require(!_upgradesDisabled, "Upgrades are permanently disabled");
    }

    function _hasValidity(bytes32 policy) internal pure override returns (bool) {
        return policy == POLICY_COMPOSE || policy == POLICY_DEVICE || policy == POLICY_OS_IMAGE;
    }

    function _limits() private pure returns (AppLimits storage s) {
        assembly {
            s.slot := APP_LIMITS
        }
    }
}
